"""From run folders alone to the published table, curves and an honest account: `python -m cppo_verl.report`."""
