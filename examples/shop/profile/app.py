"""The shop's profile page: a customer's orders and what else they may like.

The data is generated from the number in the request, so the page needs no database and the same
customer always sees the same page.
"""

import html
import json
import random
from collections import Counter

PRODUCTS = [
    f"{adjective} {thing}"
    for adjective in ("Blue", "Warm", "Quiet", "Round", "Old", "Swift", "Plain", "Small")
    for thing in ("lamp", "chair", "kettle", "scarf", "radio", "bicycle", "mirror", "clock")
]
ORDERS = 40
NEIGHBORS = 400
SUGGESTIONS = 8


def handler(event, context):
    """Renders the page of customer `seed`."""
    customer = int((event or {}).get("seed", 0))
    orders = orders_of(customer)
    page = render(customer, orders, suggestions(customer, orders))
    return {
        "statusCode": 200,
        "headers": {"content-type": "text/html; charset=utf-8"},
        "body": page,
    }


def orders_of(customer):
    """What the customer bought: (product, pieces, price in cents)."""
    draw = random.Random(customer)
    favorites = draw.sample(PRODUCTS, 12)
    return [
        (draw.choice(favorites), draw.randint(1, 3), draw.randint(900, 19_900))
        for _ in range(ORDERS)
    ]


def suggestions(customer, orders):
    """Products that customers with a similar taste bought and this one did not."""
    own = {product for product, _, _ in orders}
    score = Counter()
    draw = random.Random(customer * 31 + 7)
    for _ in range(NEIGHBORS):
        theirs = set(draw.sample(PRODUCTS, 12))
        likeness = len(own & theirs) / len(own | theirs)
        for product in theirs - own:
            score[product] += likeness
    return [product for product, _ in score.most_common(SUGGESTIONS)]


def render(customer, orders, suggested):
    rows = "".join(
        f"<tr><td>{html.escape(product)}</td><td>{pieces}</td><td>{cents / 100:.2f}</td></tr>"
        for product, pieces, cents in orders
    )
    likes = "".join(f"<li>{html.escape(product)}</li>" for product in suggested)
    total = sum(pieces * cents for _, pieces, cents in orders) / 100
    data = json.dumps({"customer": customer, "total": total})
    return (
        "<!doctype html><meta charset=utf-8><title>Your profile</title>"
        f"<h1>Customer {customer}</h1>"
        f"<p>{len(orders)} orders, {total:.2f} in all.</p>"
        f"<table><tr><th>Product<th>Pieces<th>Price</tr>{rows}</table>"
        f"<h2>You may also like</h2><ul>{likes}</ul>"
        f'<script type="application/json">{data}</script>'
    )
