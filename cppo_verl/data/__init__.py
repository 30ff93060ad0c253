"""From raw data sets to the parquet files verl reads. Imports neither verl nor Ray."""
