"""Lesson 59: Reinforcement learning: what is a move worth?

Every network so far was told what it should have said: the label, the next word, the picture itself. Whoever acts is told
nothing of the kind. A move is answered by a new situation and, now and then, by a reward, often long after the move that
earned it. Which of the hundred moves before was the good one?

You will meet three answers. If the world is known, ask what each state is worth: an equation, whose solution any guess falls
into, by a factor gamma a round. If it is not known, walk about at random and learn from single moves what the best walker
would earn (Q-learning). And if there are too many states to number, give a network's actions probabilities, and make likelier
what turned out well: a gradient through something that has none. Expected: values right within 5 % from moves made by chance,
and a pole that stands for far more than 195 steps where pushes at random keep it up for about 22.

Papers: Bellman 1957; Watkins 1989 and Watkins & Dayan 1992; Williams 1992; Barto, Sutton & Anderson 1983; Sutton et al. 2000;
Schulman et al. 2016, arXiv:1506.02438. The book is Sutton & Barto 2018.
"""
# %%
import numpy as np

from tinygrad_edu import Tensor, functional as F, grad, optim
from tinygrad_edu.data.worlds import Bandit, CartPole, GridWorld
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.models.decisions.actor_critic import Critic, advantages
from tinygrad_edu.models.decisions.q_learning import QTable
from tinygrad_edu.models.decisions.reinforce import Policy, policy_loss, rewards_to_go
from tinygrad_edu.models.decisions.value_iteration import greedy, look_ahead, value_iteration
from tinygrad_edu.viz import panels, plot_curves

lesson = Lesson("59_reinforcement_learning")
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## A world with a map
#
# From S to G (+1), around the walls and past the pit x (-1). Every other step costs 0.04, and one step in ten goes a quarter
# turn astray. A reward k steps away counts gamma^k, gamma = 0.9. What is a state worth? What the best that can be done from
# there earns; and the best is the best first move, and then again the best:
#
#     V(s) = max_a [ r(s, a) + gamma sum_t P(t | s, a) V(t) ]                                           (Bellman)
#
# V stands on both sides. Read it as an assignment: put any guess in on the right, get a better one on the left. Why better?
# Take two guesses that differ by at most d. Whatever the action, the two brackets differ by at most gamma d; so do their
# maxima. One of the two may be V* itself, which the assignment leaves alone. After k rounds, any guess has come down to
# gamma^k of its error or less. The bound cannot be improved: V* + 1 keeps to it exactly, as long as no end is within k steps.

# %%
GAMMA = 0.9
world = GridWorld()
best_values, best_q = world.best(GAMMA)                                                 # (S,) and (S, A), exact
inside = np.flatnonzero([cell in ".S" for cell in "".join(world.rows)])                 # states where there is a choice
print("\n".join("  " + row for row in world.rows))

guesses = {"a wild guess": 5 * rng.standard_normal(world.states), "V* + 1": best_values + 1}
errors = {}
for name, guess in guesses.items():
    rounds = value_iteration(guess, world.transition, world.reward, GAMMA, 300)         # (301, S)
    errors[name] = np.abs(rounds - best_values).max(axis=1)
bound = GAMMA ** np.arange(301)
excess = max((error - bound * error[0]).max() for error in errors.values())
lesson.claim("largest error beyond gamma^k of the first, 300 rounds", excess, "<=", 1e-12, row="S01", kind="E", oracle=0)

pair = [value_iteration(start, world.transition, world.reward, 1.0, 10)[-1] for start in (best_values, best_values + 1)]
lesson.claim("without gamma: two guesses 1 apart, ten rounds later", np.abs(pair[1] - pair[0]).max(), ">", GAMMA ** 10,
             row="S01", kind="E", baseline=GAMMA ** 10)

# %% [markdown]
# Where it ends can be checked by another way. Once the best action of each state is fixed, the max is gone, and V is the
# solution of a linear system, (I - gamma P) V = r, which `world.evaluate` solves. It does so for any policy: beside it, what
# somebody earns who walks at random.

# %%
V = value_iteration(np.zeros(world.states), world.transition, world.reward, GAMMA, 600)[-1]
policy = greedy(look_ahead(V, world.transition, world.reward, GAMMA))
at_random = world.evaluate(np.full((world.states, 4), 0.25), GAMMA)
lesson.claim("value iteration against the linear solve", np.abs(V - world.evaluate(policy, GAMMA)).max(), "<=", 1e-8,
             row="S01", kind="E", baseline=np.abs(V - at_random).max(), oracle=0)
print(f"  from the start: {V[world.start]:.3f}; walking at random: {at_random[world.start]:.3f}")

# %% [markdown]
# ## Without the map
#
# Now P and r are hidden. All we see are moves: from s, by a, to t, for r. Then r + gamma max_b Q(t, b) is a sample of
# Bellman's right side, and Q(s, a) takes a step towards it. The steps shrink as the visits grow, n^-0.7: so slowly that the
# nonsense of the first targets is forgotten, so fast that the noise averages out.
#
# The max asks what could be done in t, not what will be. So it does not matter who walks. Here 128 walkers push about at
# random, never try to get anywhere, and are put down somewhere else every five moves or so. A second table watches the same
# moves without the max: its targets take the mean over b, what these walkers really do.

# %%
class WithoutMax(QTable):
    def future(self, state):
        return self.values[state].mean(axis=-1)

tables = {"Q-learning": QTable(world.states, 4, GAMMA), "without the max": WithoutMax(world.states, 4, GAMMA)}
WALKERS, MOVES = 128, lesson.pick(20_000, 200)
looks = np.unique(np.geomspace(1, MOVES, 60).astype(int))
states, q_errors, times = rng.choice(inside, WALKERS), {name: [] for name in tables}, []
for move in lesson.progress(range(1, MOVES + 1), "walking"):
    actions = rng.integers(4, size=WALKERS)
    arrivals = world.draw(states, actions)
    for table in tables.values():
        table.learn(states, actions, world.pays[arrivals], arrivals, world.ends[arrivals])
    lifted = world.ends[arrivals] | (rng.random(WALKERS) < 0.2)
    states = np.where(lifted, rng.choice(inside, WALKERS), arrivals)
    if move in looks:
        times.append(WALKERS * move)
        for name, table in tables.items():
            q_errors[name].append(np.abs(table.values - best_q)[inside].max())

largest = np.abs(best_q[inside]).max()
off = {name: np.abs(table.values - best_q)[inside].max() / largest for name, table in tables.items()}
lost = {name: (best_values - world.evaluate(greedy(table.values), GAMMA))[inside].max() for name, table in tables.items()}
lesson.claim("Q-learning: worst error of Q, over the largest Q", off["Q-learning"], "<=", 0.05, row="S02", kind="O",
             baseline=off["without the max"], oracle=0)
lesson.claim("Q-learning's best policy: value lost, worst state", lost["Q-learning"], "<=", 0.01, row="S02", kind="O",
             baseline=lost["without the max"], oracle=0)
lesson.claim("without the max: worst error of Q", off["without the max"], ">", 0.05, row="S02", kind="C",
             baseline=off["Q-learning"])

# In one corner two ways are equally good up to 0.0001, and which of them Q prefers is chance. What counts is what it costs.

# %% [markdown]
# ## A gradient through a choice
#
# A table needs numbered states. A network does not, but what is the loss? Ten arms; arm a pays mu_a on average, and we pull
# it with probability p(a), a softmax. The mean J = sum_a p(a) mu_a has a gradient, but mu is hidden. The trick is to write
# grad p = p grad ln p:
#
#     grad J = sum_a mu_a grad p(a) = sum_a p(a) mu_a grad ln p(a) = mean of  r grad ln p(a)  over pulls.
#
# The last mean can be had by pulling. And since sum_a p(a) grad ln p(a) = grad 1 = 0, any number b may be taken from r: the
# mean stays, the noise does not. Take b = J. (We compute J; whoever learns would keep a running mean.)

# %%
ARMS, PULLS = 10, 20_000
bandit = Bandit(means=4 + rng.standard_normal(ARMS))
logits = Tensor(rng.standard_normal(ARMS) / 2, requires_grad=True)
mean_reward = (F.softmax(logits) * Tensor(bandit.means)).sum()
exact = grad(mean_reward, logits)[0].numpy()                                            # (K,)
p, J = F.softmax(logits).detach().numpy(), mean_reward.item()

def estimates(arms, rewards, b):
    """(r - b) grad ln p(a), a row for each pull: (N, K). The gradient of ln softmax at a is onehot(a) - p."""
    return (rewards - b)[:, None] * (np.eye(ARMS)[arms] - p)

arms = rng.choice(ARMS, PULLS, p=p)
rewards = bandit.pull(arms)
loss = policy_loss(F.log_softmax(logits)[Tensor(arms)], rewards - J, PULLS)
gap = np.abs(-grad(loss, logits)[0].numpy() - estimates(arms, rewards, J).mean(axis=0)).max()
lesson.claim("estimate: autograd against the formula", gap, "<=", 1e-10, row="S03", kind="E", oracle=0)
expected = [p @ estimates(np.arange(ARMS), bandit.means, b) for b in (0, J, 17)]        # over all arms: no chance left
lesson.claim("expected estimate minus grad J, with b = 0, J, 17", np.abs(np.array(expected) - exact).max(), "<=", 1e-12,
             row="S03", kind="E", oracle=0)

# Drawn, it can be right only up to its standard error. And without the logarithm, r grad p(a), it is not right at all: what is
# pulled often counts twice.
direction = exact / np.linalg.norm(exact)
drawn = {"b = 0": estimates(arms, rewards, 0), "b = J": estimates(arms, rewards, J)}
drawn["without the logarithm"] = drawn["b = J"] * p[arms][:, None]
along = {name: rows @ direction for name, rows in drawn.items()}                        # (N,) each
standard_errors = {name: abs(values.mean() - np.linalg.norm(exact)) / (values.std() / np.sqrt(PULLS))
                   for name, values in along.items()}
lesson.claim("20,000 pulls: standard errors from grad J", max(standard_errors[name] for name in ("b = 0", "b = J")), "<=", 3,
             row="S03", kind="O", baseline=standard_errors["without the logarithm"])
lesson.claim("the same without the logarithm", standard_errors["without the logarithm"], ">", 3, row="S03", kind="C",
             baseline=standard_errors["b = J"])

def variance(rows):
    return rows.var(axis=0).sum()

lengths = ((np.eye(ARMS)[arms] - p) ** 2).sum(axis=1)                                   # |grad ln p|^2
perfect = (rewards * lengths).mean() / lengths.mean()                                   # the b of least variance
lesson.claim("variance: without a baseline over with b = J", variance(drawn["b = 0"]) / variance(drawn["b = J"]), ">=", 2,
             row="S03", kind="C", baseline=1, oracle=variance(drawn["b = 0"]) / variance(estimates(arms, rewards, perfect)))
around_zero = variance(estimates(arms, rewards - 4, 0)) / variance(estimates(arms, rewards - 4, J - 4))
print(f"  the same if the arms pay 4 less, that is about 0: {around_zero:.2f}")

# So a baseline is worth much where all rewards are alike and far from 0, and nothing where they lie around it. In the next
# world all are +1.

# %% [markdown]
# ## A pole on a cart
#
# Push left or right, 50 times a second; each step that the pole stands earns 1, up to 500. The state is four numbers: place,
# speed, angle, angular speed. A network with 32 hidden units gives the probability of each push. Eight carts run at once;
# then one step of Adam along sum_t w_t grad ln p(a_t), and the eight attempts are thrown away.
#
# What is the weight w_t of a push?
#
# - all that the attempt earned: right on average;
# - only what came after: what was earned before cannot be its merit;
# - and minus V(s_t), what was to be expected anyway, from a second network that learns it by regression: a critic;
# - or let the critic tell the future, too: r_t + gamma V(s_(t+1)) - V(s_t), the surprise of one step (lambda = 0: no noise from
#   later, but as wrong as the critic), or a mixture of both (lambda = 0.95). That is an actor and its critic.
#
# Rewards count gamma^k with gamma = 0.99, and are scaled by 1 - gamma, so that all values lie between 0 and 1. (Strictly, a push
# at step t should count gamma^t less in the second and third kind. Nobody does that: late pushes are worth learning, too.)

# %%
FAR = 0.99
WEIGHTS = {                                     # rewards and values (T, N) -> the weight of each action (T, N)
    "all that it earned": lambda pay, values: np.broadcast_to(rewards_to_go(pay, FAR)[0], pay.shape),
    "what came after": lambda pay, values: rewards_to_go(pay, FAR),
    "minus V": lambda pay, values: advantages(pay, values, FAR),
    "actor-critic, 0.95": lambda pay, values: advantages(pay, values, FAR, trust=0.95),
    "actor-critic, 0": lambda pay, values: advantages(pay, values, FAR, trust=0.0),
}

def play(act, carts):
    """One attempt of each cart: observations (T, N, 4), actions (T, N), and rewards (T, N), 0 once it has ended."""
    world, observations, actions, rewards = CartPole(carts), [], [], []
    observation = world.reset()
    while not world.done.all():
        action = act(observation)
        observations.append(observation)
        actions.append(action)
        observation, reward, _ = world.step(action)
        rewards.append(reward)
    return np.stack(observations), np.stack(actions), np.stack(rewards)

def learn(critic, optimizer, observations, earned):
    """Ten steps of regression towards what the states turned out to be worth."""
    for _ in range(10):
        loss = F.mse_loss(critic(Tensor(observations)), Tensor(earned.astype("float32")))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

def train(weights_of, rounds, title, carts=8):
    """A policy, and how long its attempts of each round stood on average."""
    policy, critic, lengths = Policy(4, 2), Critic(4), []
    optimizer, critic_optimizer = (optim.Adam(model.parameters(), lr=0.01) for model in (policy, critic))
    for _ in lesson.progress(range(rounds), title):
        observations, actions, rewards = play(policy.act, carts)
        standing, pay = rewards > 0, (1 - FAR) * rewards                                # (T, N)
        weights = weights_of(pay, critic.value(observations) * standing)
        seen, chosen, weight = observations[standing], actions[standing], weights[standing]                 # (M, ..)

        loss = policy_loss(policy(Tensor(seen)).log_prob(Tensor(chosen)), weight.astype("float32"), carts)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        learn(critic, critic_optimizer, seen, rewards_to_go(pay, FAR)[standing])
        lengths.append(rewards.sum(axis=0).mean())
    return policy, lengths

def stands(act, attempts=lesson.pick(100, 8)):
    return play(act, attempts)[2].sum(axis=0).mean()

by_chance = stands(lambda observations: rng.integers(2, size=len(observations)))
curves, steps = {}, {}
for how in reversed(WEIGHTS):
    policy, curves[how] = train(WEIGHTS[how], lesson.pick(60, 2), how)
    steps[how] = stands(policy.act)
    print(f"  {how:<20} 100 attempts stand for {steps[how]:5.1f} steps on average; pushes at random: {by_chance:.1f}")
lesson.claim("CartPole: mean of 100 attempts, minus V", steps["minus V"], ">=", 195, row="S03", kind="O",
             baseline=by_chance, oracle=500)
lesson.claim("CartPole: actor-critic, lambda = 0.95", steps["actor-critic, 0.95"], ">=", 195, row="S03", kind="O",
             baseline=by_chance, oracle=500)
lesson.claim("CartPole: weights are all that it earned", steps["all that it earned"], "<", 195, row="S03", kind="C",
             baseline=by_chance, oracle=500)

# %% [markdown]
# How much noise did each step take away? Hold a fresh policy still, teach a critic on 64 attempts what its states are worth,
# and estimate the gradient 100 times, from one attempt each.

# %%
def noise(policy, attempts, critic, weights_of):
    """The total variance of the estimates that single attempts give."""
    observations, actions, rewards = attempts
    weights, rows = weights_of((1 - FAR) * rewards, critic.value(observations) * (rewards > 0)), []
    for n, T in enumerate(rewards.sum(axis=0).astype(int)):
        log_probs = policy(Tensor(observations[:T, n])).log_prob(Tensor(actions[:T, n]))
        gradients = grad(policy_loss(log_probs, weights[:T, n].astype("float32")), policy.parameters())
        rows.append(np.concatenate([g.numpy().ravel() for g in gradients]))
    return variance(np.array(rows))

still, critic = Policy(4, 2), Critic(4)
teacher = optim.Adam(critic.parameters(), lr=0.01)
observations, _, rewards = play(still.act, 64)
for _ in range(lesson.pick(20, 2)):
    learn(critic, teacher, observations[rewards > 0], rewards_to_go((1 - FAR) * rewards, FAR)[rewards > 0])
attempts = play(still.act, lesson.pick(100, 10))
noises = {how: noise(still, attempts, critic, weights_of) for how, weights_of in WEIGHTS.items()}
for how, size in noises.items():
    print(f"  {how:<20} variance {size / noises['minus V']:6.2f}")
lesson.claim("CartPole: variance, all that it earned over minus V", noises["all that it earned"] / noises["minus V"], ">=", 2,
             row="S03", kind="C", baseline=1)

# The critic alone, "what came after" over "minus V", took away a factor of 1.4 to 3.1 on five seeds. We had promised 2; but how
# much of the future a state foretells depends on the policy that one happens to start with.

# %%
def draw_values(panel, values, policy, title):
    """Values as colours, the actions of a policy as arrows."""
    height, width = len(world.rows), world.width
    shown = np.full(world.states, np.nan)
    shown[inside] = values[inside]
    image = panel.imshow(shown.reshape(height, width), cmap="viridis", vmin=-1, vmax=1)
    y, x = np.divmod(inside, width)
    dy, dx = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])[policy[inside].argmax(axis=1)].T
    panel.quiver(x, y, dx, -dy, pivot="mid", color="white", scale=18, width=0.008)
    for state, cell in enumerate("".join(world.rows)):
        if cell in "xG":
            panel.text(state % width, state // width, {"x": "-1", "G": "+1"}[cell], ha="center", va="center")
    panel.text(world.start % width, world.start // width + 0.55, "start", fontsize=9, ha="center", va="top")
    panel.set_title(title, loc="left", fontsize=11)
    panel.set_axis_off()
    panel.figure.colorbar(image, ax=panel, pad=0.02, shrink=0.7).outline.set_visible(False)

if lesson.draws:
    figure, axes = panels(2, 3, size=(17, 8.6))
    draw_values(axes[0, 0], tables["Q-learning"].values.max(axis=1), greedy(tables["Q-learning"].values),
                "Learned from random walks: values, best moves")
    plot_curves({name: error[:101] for name, error in errors.items()} | {"gamma^k": bound[:101]}, "round",
                "largest error of V", "y", "Value iteration, and what is promised", axes[0, 1])
    axes[0, 1].set_ylim(1e-4, 40)
    plot_curves({name: (times, values) for name, values in q_errors.items()}, "moves seen", "largest error of Q", "xy",
                "The same moves, with the max and without", axes[0, 2])
    draw_values(axes[1, 0], at_random, greedy(tables["without the max"].values), "Without the max: the random walker's values")
    panel, groups = axes[1, 1], {name: values.reshape(-1, 100).mean(axis=1) for name, values in along.items()}
    bins = np.linspace(groups["b = 0"].min(), groups["b = 0"].max(), 60)
    for name, means in groups.items():
        panel.hist(means, bins, weights=np.full(len(means), 1 / len(means)), histtype="step", linewidth=1.8, label=name)
    panel.axvline(np.linalg.norm(exact), color="#26323c", linewidth=0.8, linestyle=":", label="the true gradient")
    panel.set_title("The gradient, from 100 pulls each", loc="left", fontsize=11)
    panel.set(xlabel="estimate along the true gradient", ylabel="share of the estimates")
    panel.legend(frameon=False, fontsize=9)
    plot_curves(curves, "round of 8 attempts", "steps that the pole stands", "", "Which pushes were the good ones?", axes[1, 2])
    axes[1, 2].axhline(195, color="#26323c", linewidth=0.8, linestyle=":")
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Let one step in two go astray. Does the best way still lead past the pit? From which slip on does it turn round?
# - Step sizes 1/n (decay = 1) are the mean of all targets. Why is that so much worse here than n^-0.7?
# - The actor-critic with lambda = 0 learns slowest. Give its critic a hundred steps a round instead of ten. Was it the critic?
# - Lesson 60 learns the world itself, and then learns to act in its own dream of it.
