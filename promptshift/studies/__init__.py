"""The figures and checks that the papers draw and ask for, each one command: `promptshift study NAME`.

style    colours, markers, and a figure as SVG that fits light and dark pages
plots    pure functions: plain data -> matplotlib figure
outcome  what a study found: data, verdict, numbers; written as JSON, drawn again from it
bench    running what a study needs, reusing what has been run
features frozen features of the images of a reopened run
studies  one module per question
"""
