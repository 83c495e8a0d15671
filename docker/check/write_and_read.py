"""Writes two customers to the server of this container and reads them back, with one that is not there, through the client."""

from featurestore_client import connect

CITY = "Zürich"

with connect("grpc://127.0.0.1:7400") as client:
    written = client.write(
        "customer_activity",
        {"customer_id": [7, 8], "orders": [3, 41], "spend": [19.5, 1024.25], "city": [CITY, None]},
    )
    print(written)
    batch = client.get("churn_model_v1", {"customer_id": [8, 7, 9]})
    answer = batch.to_dict()
    print(answer)
    expected = {"orders": [41, 3, None], "spend": [1024.25, 19.5, None], "city": [None, CITY, None]}
    if answer != expected:
        raise SystemExit(f"read {answer}, expected {expected}")
