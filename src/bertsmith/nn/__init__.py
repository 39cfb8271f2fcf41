"""The parts that members are put together from."""
