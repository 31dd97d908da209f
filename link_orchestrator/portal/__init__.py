"""The portal: the administrator's API as pages that a browser shows. README.md says how to add a page."""
