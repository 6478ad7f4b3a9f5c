"""The norms in the book's order: what each is called and how it is drawn, everywhere.

Literals alone, so that the site reads this file without importing the package.
"""

NAMES = {
    "none": {
        "title": "No norm",
        "color": "#63676C",
        "marker": "o",
        "linestyle": "-",
        "linewidth": 1.2,
        "hollow": True,
    },
    "batch": {
        "title": "Batch norm",
        "color": "#3E64B0",
        "marker": "o",
        "linestyle": "-",
    },
    "layer": {
        "title": "Layer norm",
        "color": "#885C27",
        "marker": "s",
        "linestyle": "-",
    },
    "rms": {
        "title": "RMS norm",
        "color": "#C479AC",
        "marker": "s",
        "linestyle": "--",
        "hollow": True,
    },
    "instance": {
        "title": "Instance norm",
        "color": "#929105",
        "marker": "^",
        "linestyle": ":",
    },
    "group": {
        "title": "Group norm",
        "color": "#489A7A",
        "marker": "D",
        "linestyle": "-",
    },
    "weight": {
        "title": "Weight norm",
        "color": "#9379FD",
        "marker": "v",
        "linestyle": "--",
    },
    "spectral": {
        "title": "Spectral norm",
        "color": "#C55E59",
        "marker": "x",
        "linestyle": "-.",
    },
}

# What shares statistics with one element, on a sheet of samples (rows) by channels (columns), or of
# a weight matrix: a row and a column are "one" or "all" of them, or their first few.
SHEETS = {
    "batch": {
        "rows": "all",
        "columns": "one",
        "over": "one channel, over all samples and the whole map",
        "parameters": "columns",
    },
    "layer": {
        "rows": "one",
        "columns": "all",
        "over": "one sample, over all its features",
        "parameters": "columns",
    },
    "rms": {
        "rows": "one",
        "columns": "all",
        "over": "one sample, over all its features; no mean is subtracted",
        "parameters": "columns",
    },
    "instance": {
        "rows": "one",
        "columns": "one",
        "over": "one channel of one sample, over its map",
        "parameters": "columns",
    },
    "group": {
        "rows": "one",
        "columns": 3,
        "over": "one sample, over a group of channels",
        "parameters": "columns",
    },
    "weight": {
        "rows": "one",
        "columns": "all",
        "over": "the weights of one output: their length is set free",
        "parameters": "rows",
        "of": "weights",
    },
    "spectral": {
        "rows": "all",
        "columns": "all",
        "over": "all weights: their largest singular value becomes 1",
        "parameters": "none",
        "of": "weights",
    },
}
