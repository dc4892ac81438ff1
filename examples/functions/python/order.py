"""An order: it is charged, waits for an approval or three days, and is shipped or paid back.

fermata deploy --durable order.py
"""

import fermata


def handler(order):
    fermata.set_status("charging")
    receipt = fermata.call("charge", {"order": order["order"]})

    fermata.set_status("waiting for approval")
    approval, patience = fermata.signal("approval"), fermata.timer(days=3)
    if fermata.wait_any(approval, patience) is patience:
        approval.cancel()
        return {"expired": True, "refund": fermata.call("refund", receipt)}
    patience.cancel()

    fermata.set_status("shipping")
    shipments = [
        fermata.submit("ship", {"item": item, "to": order["to"]}, class_="economy") for item in order["items"]
    ]
    parcels = fermata.wait_all(*shipments)
    return {"order": order["order"], "receipt": receipt, "by": approval.result()["by"], "parcels": parcels}
