"""From folders of data to arrays and batches; the synthetic world."""
