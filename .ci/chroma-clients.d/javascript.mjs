// Every method of the JavaScript client (npm `chromadb` 3) with usual and unusual arguments.
import { AdminClient, ChromaClient } from "chromadb";

const url = new URL(process.argv[2]);
const place = { host: url.hostname, port: Number(url.port), ssl: false };
const ids = new Map();
const withoutIds = (text) =>
    text.replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, (id) => {
        if (!ids.has(id)) ids.set(id, `<id ${ids.size + 1}>`);
        return ids.get(id);
    });

function plain(value) {
    if (typeof value === "number" && !Number.isInteger(value)) return Number(value.toPrecision(6));
    if (value instanceof Float32Array) return [...value].map(plain);
    if (Array.isArray(value)) return value.map(plain);
    if (value && typeof value === "object") {
        // Of a collection: Chroma's schema also has the keys of its records.
        if (value.modify) return plain({ name: value.name, id: value.id, metadata: value.metadata, configuration: value.configuration });
        return Object.fromEntries(Object.keys(value).sort().map((key) => [key, plain(value[key])]));
    }
    return value ?? null;
}

async function step(label, operation) {
    try {
        const answer = await operation();
        console.log(`${label}: ${withoutIds(JSON.stringify(plain(answer)))}`);
        return answer;
    } catch (error) {
        console.log(`${label}: ${error.name}: ${withoutIds(String(error.message)).replaceAll(/:\d{4,5}\b/g, ":PORT")}`);
    }
}

const client = new ChromaClient(place);
await step("version", () => client.version());
await step("beats", async () => (await client.heartbeat()) > 0);
await step("reset", () => client.reset());
await step("limit", () => client.getMaxBatchSize());
await step("base64", () => client.supportsBase64Encoding?.());
await step("identity", () => client.getUserIdentity?.());

const embeddingFunction = null;
for (const name of ["docs", "docs", "a", "a..b", "ü"]) await step(`create ${name}`, () => client.createCollection({ name, embeddingFunction }));
await step("metadata", () => client.createCollection({ name: "metadata", metadata: { a: 1, b: 1.5, c: "x", d: true }, embeddingFunction }));
for (const space of ["l2", "cosine", "ip"]) await step(space, () => client.createCollection({ name: `space-${space}`, configuration: { hnsw: { space, ef_search: 50 } }, embeddingFunction }));
await step("old space", () => client.createCollection({ name: "old-space", metadata: { "hnsw:space": "cosine" }, embeddingFunction }));
await step("wrong space", () => client.createCollection({ name: "wrong", configuration: { hnsw: { space: "wrong" } }, embeddingFunction }));
await step("keep", () => client.getOrCreateCollection({ name: "docs", metadata: { new: 1 }, embeddingFunction }));
await step("unknown", () => client.getCollection({ name: "unknown", embeddingFunction }));
await step("delete unknown", () => client.deleteCollection({ name: "unknown" }));
await step("count", () => client.countCollections());
for (const page of [{}, { limit: 2 }, { limit: 2, offset: 100 }, { limit: 0 }])
    await step(`list ${JSON.stringify(page)}`, async () => (await client.listCollections(page)).length);

const docs = await client.getCollection({ name: "docs", embeddingFunction });
await step("add", () => docs.add({ ids: ["a", "b", "c"], embeddings: [[0, 1, 0.5], [1, 1, 0.5], [2, 1, 0.5]], documents: ["The cat", "a DOG", "日本語"], metadatas: [{ n: 1, s: "x" }, { n: 2.5, t: true }, { n: 3, list: ["x", "y"] }] }));
await step("add again", () => docs.add({ ids: ["a", "d"], embeddings: [[9, 9, 9], [3, 1, 0.5]] }));
await step("add doubles", () => docs.add({ ids: ["e", "e"], embeddings: [[1, 1, 1], [2, 2, 2]] }));
await step("add other dimension", () => docs.add({ ids: ["z"], embeddings: [[1, 2]] }));
await step("add uneven", () => docs.add({ ids: ["z", "y"], embeddings: [[1, 2, 3]] }));
await step("add nothing", () => docs.add({ ids: [], embeddings: [] }));
await step("add NaN", () => docs.add({ ids: ["z"], embeddings: [[NaN, 1, 2]] }));
await step("add null metadata", () => docs.add({ ids: ["f"], embeddings: [[40, 1, 0.5]], metadatas: [{ a: null }] }));
await step("add uri", () => docs.add({ ids: ["g"], embeddings: [[5, 1, 0.5]], uris: ["file:///x"] }));
await step("update", () => docs.update({ ids: ["a"], metadatas: [{ n: 5, s: null }] }));
await step("update document", () => docs.update({ ids: ["b"], embeddings: [[1, 1, 0.5]], documents: ["updated"] }));
await step("upsert", () => docs.upsert({ ids: ["c", "h"], embeddings: [[2, 1, 0.5], [6, 1, 0.5]], documents: ["upserted", "new"], metadatas: [{ up: 1 }, { up: 2 }] }));
await step("count", () => docs.count());
await step("get", () => docs.get());
await step("get ids", () => docs.get({ ids: ["c", "a", "none"] }));
for (const include of [[], ["documents"], ["embeddings", "uris"], ["metadatas", "distances"], ["what"]])
    await step(`get include ${include}`, () => docs.get({ ids: ["a", "g"], include }));
await step("page", () => docs.get({ limit: 2, offset: 1 }));
await step("limit 0", () => docs.get({ limit: 0 }));
await step("negative limit", () => docs.get({ limit: -1 }));
await step("peek", () => docs.peek({ limit: 2 }));
for (const where of [{ n: 5 }, { n: { $gt: 2 } }, { n: { $in: [3, 5] } }, { n: { $nin: [3] } }, { s: { $ne: "x" } }, { t: true }, { $and: [{ n: { $gte: 2 } }, { t: true }] }, { $or: [{ n: 5 }, { up: 2 }] }, { list: { $contains: "x" } }, {}, { $what: 1 }, { n: { $in: [] } }])
    await step(`where ${JSON.stringify(where)}`, () => docs.get({ where, include: ["metadatas"] }));
for (const whereDocument of [{ $contains: "cat" }, { $not_contains: "a" }, { $regex: "^[a-z]+d$" }, { $and: [{ $contains: "u" }, { $contains: "d" }] }, { $or: [{ $contains: "本" }, { $contains: "cat" }] }, { $regex: "(" }])
    await step(`document ${JSON.stringify(whereDocument)}`, () => docs.get({ whereDocument, include: ["documents"] }));
await step("query", () => docs.query({ queryEmbeddings: [[0.25, 1, 0.5], [4.75, 1, 0.5]], nResults: 2 }));
await step("query all", () => docs.query({ queryEmbeddings: [[0.25, 1, 0.5]], nResults: 100, include: ["distances", "documents", "metadatas", "uris", "embeddings"] }));
await step("query where", () => docs.query({ queryEmbeddings: [[0.25, 1, 0.5]], nResults: 5, where: { n: { $gt: 2 } }, whereDocument: { $not_contains: "updated" } }));
await step("query ids", () => docs.query({ queryEmbeddings: [[0.25, 1, 0.5]], nResults: 5, ids: ["c", "h"] }));
await step("query rows", async () => (await docs.query({ queryEmbeddings: [[0.25, 1, 0.5]], nResults: 2 })).rows());
await step("query none", () => docs.query({ queryEmbeddings: [[0.25, 1, 0.5]], nResults: 0 }));
await step("query dimension", () => docs.query({ queryEmbeddings: [[1, 2]], nResults: 1 }));
for (const name of ["l2", "cosine", "ip"]) {
    const made = await step(name, () => client.getCollection({ name: `space-${name}`, embeddingFunction }));
    await made.add({ ids: ["a", "b", "c"], embeddings: [[1, 0], [0, 2], [-3, 0]] });
    await step(`query ${name}`, () => made.query({ queryEmbeddings: [[1, 0.25]], nResults: 3, include: ["distances"] }));
}
await step("modify", () => docs.modify({ name: "renamed", metadata: { k: "v" } }));
await step("modify configuration", () => docs.modify({ configuration: { hnsw: { ef_search: 77 } } }));
await step("renamed", () => client.getCollection({ name: "renamed", embeddingFunction }));
await step("delete ids", () => docs.delete({ ids: ["a", "b"] }));
await step("delete where", () => docs.delete({ where: { up: { $gt: 1 } } }));
await step("delete document", () => docs.delete({ whereDocument: { $contains: "upserted" } }));
await step("delete nothing", () => docs.delete({}));
await step("left", () => docs.get({ include: [] }));
await step("fork", () => docs.fork({ name: "forked" }));
await step("delete collection", () => client.deleteCollection({ name: "renamed" }));
await step("count of deleted", () => docs.count());

const admin = new AdminClient(place);
await step("tenant", () => admin.createTenant({ name: "javascript" }));
await step("tenant again", () => admin.createTenant({ name: "javascript" }));
await step("get tenant", () => admin.getTenant({ name: "javascript" }));
await step("database", () => admin.createDatabase({ name: "base", tenant: "javascript" }));
await step("get database", () => admin.getDatabase({ name: "base", tenant: "javascript" }));
await step("list databases", () => admin.listDatabases({ tenant: "javascript" }));
const other = new ChromaClient({ ...place, tenant: "javascript", database: "base" });
await step("elsewhere", () => other.createCollection({ name: "docs", embeddingFunction }));
await step("listed elsewhere", async () => (await other.listCollections()).map((one) => one.name));
await step("delete database", () => admin.deleteDatabase({ name: "base", tenant: "javascript" }));
await step("gone", () => other.getCollection({ name: "docs", embeddingFunction }));

// As LangChain's JavaScript vector store, which Flowise uses, calls the client.
const flow = await step("flow collection", () => client.getOrCreateCollection({ name: "flowise", metadata: { "hnsw:space": "l2" }, embeddingFunction }));
await step("flow upsert", () => flow.upsert({ ids: ["1", "2"], embeddings: [[1, 0], [0, 1]], metadatas: [{ source: "a.pdf", "loc.lines.from": 1, "loc.lines.to": 20 }, { source: "b.pdf", "loc.lines.from": 3 }], documents: ["first chunk", "second chunk"] }));
await step("flow search", () => flow.query({ queryEmbeddings: [[1, 0.5]], nResults: 4, where: { source: "a.pdf" } }));
await step("flow search all", () => flow.query({ queryEmbeddings: [[1, 0.5]], nResults: 4, where: undefined }));
await step("flow delete filter", () => flow.delete({ where: { source: { $eq: "b.pdf" } } }));
await step("flow delete ids", () => flow.delete({ ids: ["1"] }));
await step("flow count", () => flow.count());
