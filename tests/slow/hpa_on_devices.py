"""The command `hpa` on so many logical devices of the CPU.

Run as ``python -m tests.slow.hpa_on_devices N WORDS…``.
"""

import sys

import tensorflow as tf

from cli import main

if __name__ == "__main__":
    n = int(sys.argv.pop(1))
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * n)
    main()
