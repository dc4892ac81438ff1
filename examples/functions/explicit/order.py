"""An order that suspends explicitly: charged, approved within three days, shipped or paid back.

fermata deploy --durable --runtime python3 order.py
"""

from fermata_durable import Failed, durable


@durable
def handler(f):
    order, state = f.input, f.state
    approval = f.token("approval", heartbeat=4 * 24 * 3600)

    if "receipt" not in state:
        f.set_status("charging")
        state["receipt"] = yield f.call("charge", {"order": order["id"]})

    if "approved" not in state:
        f.set_status({"waiting for": approval.token})
        key, by = yield f.any(token=approval, signal=f.signal("approved"), patience=f.sleep(days=3))
        state["approved"] = None if key == "patience" else by

    if state["approved"] is None:
        return {"refund": (yield f.call("refund", state["receipt"]))}

    f.set_status("shipping")
    try:
        parcels = yield f.all(*(f.call("ship", item, class_="economy") for item in order["items"]))
    except Failed as failure:
        return {"error": failure.code, "detail": failure.detail}
    return {"by": state["approved"], "receipt": state["receipt"], "parcels": parcels}
