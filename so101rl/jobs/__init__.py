"""Jobs: what `job=` may name, one function per `conf/job/*.yaml`."""
