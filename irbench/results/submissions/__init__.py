"""Submissions: folders of results that anybody can score again, without the images and without a GPU."""
