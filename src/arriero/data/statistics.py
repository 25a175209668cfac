from arriero.config import config, setting
@config
class StatisticsConfig:
    x: int = setting(1, "stub")
class Statistics:
    def __init__(self, cfg): self.n=0
    def add(self, t): self.n+=t.num_rows
    def to_json(self): return {"documents": self.n}
def merged(xs): return {"documents": sum(x["documents"] for x in xs)}
