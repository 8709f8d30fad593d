"""How an image of the embedded world is drawn: shapes of the classes, styles of the domains, scenes, paint."""
