"""The members of the family, one file each; `bertsmith.recipe.find` reads the `MEMBERS` of every file here."""
