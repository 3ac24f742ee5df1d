import fabloom

result = fabloom.run(
    {
        "name": "look",
        "steps": {
            "images": {"task": "line-pair.simulate", "params": {"count": 64, "size": 32}},
            "reference": {"task": "line-pair.simulate", "params": {"count": 32, "size": 32}, "seed": 1},
            "labelled": {
                "task": "reference-difference.label",
                "inputs": {"images": "images", "reference": "reference"},
                "params": {"given": "replace"},  # the exact masks are kept otherwise
            },
        },
    },
    store="look-store",
)
truth, labelled = result["images"], result["labelled"]
agree = (truth.domain[:] == labelled.domain[:]).mean()
print(f"{labelled.attrs['defect_share']:.0%} labelled defective; agrees with the truth in {agree:.0%} of images")
