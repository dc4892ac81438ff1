// An order that suspends explicitly: charged, approved within three days, shipped or paid back.
//   fermata deploy --durable --runtime nodejs order.mjs
import { durable } from "fermata-durable";

export const handler = durable(function* (f) {
  const { input: order, state } = f;
  const approval = f.token("approval", { heartbeat: "4d" });

  f.setStatus("charging");
  state.receipt ??= yield f.call("charge", { order: order.id });

  if (!("approved" in state)) {
    f.setStatus({ "waiting for": approval.token });
    const waits = { token: approval, signal: f.signal("approved"), patience: f.sleep("3d") };
    const [key, by] = yield f.any(waits);
    state.approved = key === "patience" ? null : by;
  }
  if (state.approved === null) return { refund: yield f.call("refund", state.receipt) };

  f.setStatus("shipping");
  try {
    const parcels = yield f.all(order.items.map((item) => f.call("ship", item, { class: "economy" })));
    return { by: state.approved, receipt: state.receipt, parcels };
  } catch (failure) {
    return { error: failure.code, detail: failure.detail };
  }
});
