"""The name that the package has where it is installed: in the checkout, an alias of the folder `app`."""

from package_alias import add_alias

add_alias("convstore", "app")
