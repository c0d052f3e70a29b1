"""The main job on a small scene: three balls on a table, labelled from masks of a few views."""
