from featurestore.durability.record import Message

PIECE_BYTES: int

def write_record(
    file: int,
    offset: int,
    message: Message,
    project: str,
    view: str,
    definitions: int,
    *,
    sequence: int,
    synced: int,
    journal: int,
) -> int: ...
