"""One page, self-contained, of everything that finished runs show: `promptshift report FOLDER --out FOLDER`.

runs      every run below some folders, and what cannot be used
layouts   which runs a protocol's tables are of
rows      the runs of one trainer in one configuration
sections  ours, the published rows, their difference, paired tests
page      the page as HTML and as Markdown
html, assets  what it is written with
"""
