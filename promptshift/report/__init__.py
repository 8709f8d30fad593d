"""One page, self-contained, of everything that finished runs show: `promptshift report FOLDER --out FOLDER`.

runs      every run below some folders, and what cannot be used
layouts   how the runs of a protocol make tables
rows      the runs of one trainer in one configuration
tables    ours, the published rows, their difference, paired tests
page      the page as HTML and as Markdown
html, assets  what it is written with
"""
