"""The default for machines without GPU or model hub: word problems and a model made from a seed."""
