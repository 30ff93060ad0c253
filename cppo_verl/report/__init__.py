"""From run folders alone to the published table, curves and an honest account: `cppo-verl report`."""
