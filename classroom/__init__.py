"""The classroom: release, grade, give feedback, export. Thin over nbgrader; never imports `norms`."""
