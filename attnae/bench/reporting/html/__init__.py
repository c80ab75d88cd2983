"""Reports as one self-contained HTML file: the content of the Markdown page, with plots and images to explore."""
