"""The query service in idiomatic Python: FastAPI, SQLAlchemy, pgvector, sentence-transformers; one process.

    DATABASE_URL=postgresql://… MODEL_DIR=… THREADS=2 service_rival.py --port 8090

Store, store many, get and search as the contract of the old services has them, on the table that Panopticon makes.
Handlers are plain functions, which FastAPI runs on its pool of threads: PyTorch and psycopg let go of the
interpreter while they work, so that requests do overlap. A batch is embedded by one call and inserted by one
statement. Prints `ready` once it answers.
"""

import argparse
import os
import uuid
from datetime import datetime, timezone

import torch
import uvicorn
from fastapi import FastAPI, HTTPException
from pgvector.sqlalchemy import Vector
from pydantic import BaseModel, Field
from sentence_transformers import SentenceTransformer
from sqlalchemy import Column, DateTime, String, create_engine, insert, select
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.orm import Session, declarative_base

torch.set_num_threads(int(os.environ.get("THREADS", "2")))
model = SentenceTransformer(os.environ["MODEL_DIR"], device="cpu")
engine = create_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://"), pool_size=20, max_overflow=20
)
Base = declarative_base()
app = FastAPI()


class Query(Base):
    __tablename__ = "queries"
    id = Column(UUID(as_uuid=True), primary_key=True)
    query_text = Column(String, nullable=False)
    embedding = Column(Vector(384))
    theme = Column(String, nullable=False)
    # The attribute `metadata` is SQLAlchemy's own.
    meta = Column("metadata", JSONB)
    created_at = Column(DateTime, nullable=False)


class NewQuery(BaseModel):
    query: str = Field(min_length=1)
    theme: str = Field(min_length=1)
    metadata: dict = {}


class Batch(BaseModel):
    items: list[NewQuery] = Field(min_length=1, max_length=1000)


class Search(BaseModel):
    query: str
    limit: int = Field(default=5, ge=1, le=100)
    theme: str | None = None


def now():
    return datetime.now(timezone.utc).replace(tzinfo=None)


def answer(data):
    return {"status": "success", "data": data, "message": None, "timestamp": now().isoformat()}


def row(new, embedding):
    created_at = now()
    metadata = {"theme": new.theme, "timestamp": created_at.isoformat(), **new.metadata}
    return {
        "id": uuid.uuid4(),
        "query_text": new.query,
        "embedding": embedding,
        "theme": new.theme,
        "meta": metadata,
        "created_at": created_at,
    }


def shown(row):
    return {"id": str(row["id"]), "query": row["query_text"], "metadata": row["meta"]}


@app.post("/api/v1/queries")
def store(new: NewQuery):
    stored = row(new, model.encode(new.query, normalize_embeddings=True))
    with Session(engine) as session:
        session.execute(insert(Query), [stored])
        session.commit()
    return answer(shown(stored))


@app.post("/api/v1/queries/batch")
def store_many(batch: Batch):
    embeddings = model.encode([new.query for new in batch.items], normalize_embeddings=True)
    stored = [row(new, embedding) for new, embedding in zip(batch.items, embeddings)]
    with Session(engine) as session:
        session.execute(insert(Query), stored)
        session.commit()
    return answer([shown(row) for row in stored])


@app.get("/api/v1/queries/{id}")
def get(id: uuid.UUID):
    with Session(engine) as session:
        found = session.get(Query, id)
        if found is None:
            raise HTTPException(status_code=404)
        return answer({"id": str(found.id), "query": found.query_text, "metadata": found.meta})


@app.post("/api/v1/queries/search")
def search(search: Search):
    embedding = model.encode(search.query, normalize_embeddings=True)
    distance = Query.embedding.cosine_distance(embedding)
    statement = select(Query.id, Query.query_text, Query.meta, distance.label("distance"))
    if search.theme is not None:
        statement = statement.where(Query.theme == search.theme)
    with Session(engine) as session:
        rows = session.execute(statement.order_by(distance).limit(search.limit)).all()
    return answer(
        [
            {"id": str(id), "query": text, "metadata": metadata, "distance": distance}
            for id, text, metadata, distance in rows
        ]
    )


@app.get("/ready")
def ready():
    with Session(engine) as session:
        session.execute(select(Query.id).limit(1))
    model.encode("ready")
    return {}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(app, host="127.0.0.1", port=parser.parse_args().port, log_level="warning", access_log=False)
