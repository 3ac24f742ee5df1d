from contextlib import contextmanager
class LiveDisplay:
    def __enter__(self): return self
    def __exit__(self,*a): pass
    def emit(self,e):
        import sys
        if e["event"]!="progress": print(e,file=sys.stderr)
    def summary(self,r,p): print([ (x.name,x.status,x.error) for x in r],p)
