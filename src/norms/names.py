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
