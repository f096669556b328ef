"""The lesson runner: `python -m tinygrad_edu`, and the command `tinygrad-edu` that an installation provides."""
import sys


def main():
    """Run the command line and return its exit code."""
    try:
        from tinygrad_edu.lessons.__main__ import main as run
    except ModuleNotFoundError as error:
        if error.name != "tinygrad_edu.lessons":
            raise
        from lessons.__main__ import main as run            # a checkout that is not installed
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
