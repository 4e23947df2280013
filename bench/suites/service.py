"""Stands in for kafka-python's test/service.py, which its sdist leaves out: a broker that someone else runs."""


class ExternalService:
    def __init__(self, host, port):
        self.host, self.port = host, port

    def open(self):
        pass

    def start(self):
        pass

    def dump_logs(self):
        pass

    def stop(self):
        pass

    def close(self):
        pass


class SpawnedService:
    def __init__(self, *args):
        raise RuntimeError('this run has only the broker at KAFKA_URI')
