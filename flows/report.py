def write_page(path,plan,results,store):
    path.parent.mkdir(exist_ok=True); path.write_text("x")

def markdown_summary(m):
    return str(m)
