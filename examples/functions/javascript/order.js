// An order: it is charged, waits for an approval or three days, and is shipped or paid back.
//   fermata deploy --durable order.js
export default async function order(input) {
  fermata.setStatus("charging");
  const receipt = await fermata.call("charge", { order: input.order });

  fermata.setStatus("waiting for approval");
  const approval = fermata.signal("approval");
  const patience = fermata.sleep("3d");
  const approved = await Promise.race([approval.then((by) => by ?? {}), patience]);
  if (approved === undefined) {
    approval.cancel();
    return { expired: true, refund: await fermata.call("refund", receipt) };
  }
  patience.cancel();

  fermata.setStatus("shipping");
  const parcels = await Promise.all(
    input.items.map((item) => fermata.call("ship", { item, to: input.to }, { class: "economy" })),
  );
  return { order: input.order, receipt, by: approved.by, parcels };
}
