"""How good a caption is: counting apart from computing, over plain lists of words."""
