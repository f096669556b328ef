"""Real data sets, one format a file, each with two doors.

parse_X and read_X read the format, whoever made the file, and refuse what does not fit it. load_X gives a named data set,
whose files are looked for as store.py says and whose size and sha256 are checked first. Every refusal is a DataError that
names the file, what was found and what was expected.
"""
