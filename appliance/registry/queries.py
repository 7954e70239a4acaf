"""Reading rows of the registry into values, on a connection that the caller opened."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict

from appliance.errors import InvalidInput, NotFound
from appliance.model.datatype import Datatype
from appliance.model.identity import Digest, ModelName, ModelVersion
from appliance.model.signature import ModelSignature, SignatureTensor
from appliance.registry.manifest import Manifest
from appliance.registry.records import AliasChange, LoadOutcome, RegisteredModel, RegisteredVersion

_VERSIONS = """
    SELECT versions.*, loads.unfinished, loads.started_at, loads.finished_at, loads.problem
    FROM versions LEFT JOIN loads USING (name, version)
"""


def find_version(connection: sqlite3.Connection, name: ModelName, version: ModelVersion) -> RegisteredVersion | None:
    """Return one version, or None."""
    row = connection.execute(f"{_VERSIONS} WHERE name = ? AND version = ?", (name, version)).fetchone()
    return _registered_version(row) if row else None


def get_version(connection: sqlite3.Connection, name: ModelName, version: ModelVersion) -> RegisteredVersion:
    """Return one version. Raises NotFound with what there is instead."""
    found = find_version(connection, name, version)
    if found is None:
        there = [row["version"] for row in _rows(connection, "SELECT version FROM versions WHERE name = ?", name)]
        known = f"versions {', '.join(map(str, sorted(there)))}" if there else "no version"
        raise NotFound(
            f"'{name}' version {version} is not in the registry, which has {known} of it",
            hint="appliance models list",
        )
    return found


def get_model(connection: sqlite3.Connection, name: ModelName) -> RegisteredModel:
    """Return everything about one name. Raises NotFound."""
    versions = _rows(connection, f"{_VERSIONS} WHERE name = ? ORDER BY version", name)
    if not versions:
        raise NotFound(f"model '{name}' is not in the registry", hint="appliance models list")
    history = _rows(connection, "SELECT * FROM alias_history WHERE name = ? ORDER BY id", name)
    return RegisteredModel(
        name=name,
        versions={ModelVersion(row["version"]): _registered_version(row) for row in versions},
        aliases=get_aliases(connection, name),
        history=tuple(AliasChange(row["alias"], row["at"], row["previous"], row["version"]) for row in history),
    )


def get_models(connection: sqlite3.Connection) -> list[RegisteredModel]:
    """Return everything, by name."""
    names = connection.execute("SELECT DISTINCT name FROM versions ORDER BY name").fetchall()
    return [get_model(connection, ModelName(row["name"])) for row in names]


def get_aliases(connection: sqlite3.Connection, name: ModelName) -> dict[str, ModelVersion]:
    """Return which version each alias of a model points at."""
    rows = _rows(connection, "SELECT alias, version FROM aliases WHERE name = ? ORDER BY alias", name)
    return {row["alias"]: ModelVersion(row["version"]) for row in rows}


def get_digests(connection: sqlite3.Connection) -> dict[ModelName, dict[ModelVersion, Digest]]:
    """Return the digest of every version: all that tells whether anything is new."""
    found: dict[ModelName, dict[ModelVersion, Digest]] = {}
    for row in connection.execute("SELECT name, version, digest FROM versions ORDER BY name, version"):
        found.setdefault(ModelName(row["name"]), {})[ModelVersion(row["version"])] = Digest(row["digest"])
    return found


def get_manifests(connection: sqlite3.Connection) -> list[Manifest]:
    """Return the manifest of every version."""
    rows = connection.execute("SELECT manifest FROM versions ORDER BY name, version")
    return [Manifest.parse(row["manifest"].encode()) for row in rows]


def insert_version(connection: sqlite3.Connection, version: RegisteredVersion) -> None:
    """Make a version visible."""
    connection.execute(
        "INSERT INTO versions (name, version, digest, manifest, config_text, provenance, signature, added_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            version.name,
            version.version,
            version.digest,
            version.manifest.to_bytes().decode(),
            version.config_text,
            None if version.provenance is None else json.dumps(version.provenance),
            _signature_to_json(version.signature),
            version.added_at,
        ),
    )


def _rows(connection: sqlite3.Connection, statement: str, name: str) -> list[sqlite3.Row]:
    return connection.execute(statement, (name,)).fetchall()


def _registered_version(row: sqlite3.Row) -> RegisteredVersion:
    manifest = Manifest.parse(row["manifest"].encode())
    if manifest.digest() != row["digest"]:
        raise InvalidInput(f"registry: the manifest of '{row['name']}' is {manifest.digest()}, not {row['digest']}")
    last_load = LoadOutcome(row["started_at"], row["finished_at"], row["problem"], row["unfinished"])
    return RegisteredVersion(
        name=manifest.name,
        version=manifest.version,
        digest=manifest.digest(),
        manifest=manifest,
        config_text=row["config_text"],
        provenance=None if row["provenance"] is None else json.loads(row["provenance"]),
        signature=_signature_from_json(row["signature"]),
        added_at=row["added_at"],
        last_load=None if row["started_at"] is None else last_load,
    )


def _signature_to_json(signature: ModelSignature) -> str:
    document = asdict(signature)
    for tensor in (*document["inputs"], *document["outputs"]):
        tensor["datatype"] = tensor["datatype"].wire_name
    return json.dumps(document)


def _signature_from_json(text: str) -> ModelSignature:
    document = json.loads(text)
    return ModelSignature(*(tuple(map(_tensor, document[kind])) for kind in ("inputs", "outputs")))


def _tensor(document: Mapping[str, object]) -> SignatureTensor:
    name, datatype, shape, optional = (document[field] for field in ("name", "datatype", "shape", "optional"))
    assert isinstance(shape, list)
    return SignatureTensor(str(name), Datatype.parse(str(datatype)), tuple(shape), bool(optional))
