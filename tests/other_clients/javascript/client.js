// A client of featurestore in JavaScript, over @grpc/grpc-js and the contract as it is: it reads, is refused, meets a deadline, and
// writes a stream. It prints what came of that as JSON, for test_clients.py; docs/clients.md quotes it.
//
//     node client.js PROTO_DIRECTORY ADDRESS [CA_FILE API_KEY]
"use strict";

const fs = require("node:fs");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const PRESENT = 0;
const NULL = 1;
const STATUSES = ["PRESENT", "NULL", "NOT_FOUND", "EXPIRED"];

// Without a file of the authorities to trust it does not speak TLS.
function connect(protoDirectory, address, authorities) {
  const definition = protoLoader.loadSync("featurestore/v1/featurestore.proto", {
    includeDirs: [protoDirectory],
    keepCase: true,
    longs: String,
    arrays: true,
  });
  const { FeatureStore } = grpc.loadPackageDefinition(definition).featurestore.v1;
  const trusted = authorities ? grpc.credentials.createSsl(fs.readFileSync(authorities)) : grpc.credentials.createInsecure();
  return new FeatureStore(address, trusted);
}

// A column of strings: one buffer, and where each begins.
function texts(name, ...values) {
  const buffers = values.map((value) => Buffer.from(value));
  const offsets = [0];
  for (const buffer of buffers) offsets.push(offsets.at(-1) + buffer.length);
  return { name, data: Buffer.concat(buffers), offsets };
}

function fetch(store, service, ...carriers) {
  const request = { selection: { service }, keys: [texts("carrier", ...carriers)] };
  return new Promise((resolve, reject) => {
    store.GetFeatures(request, { deadline: Date.now() + 1000 }, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

// What became of a value: NOT_FOUND and EXPIRED are the row's, NULL is the value's own.
function statusOf(answer, row, feature) {
  const features = answer.schema.features;
  if (answer.row_statuses) {
    const found = answer.row_statuses[(features[feature].view_index || 0) * answer.rows + row];
    if (found !== PRESENT) return found;
  }
  const stride = Math.ceil(features.length / 8);
  const isNull = answer.nulls && (answer.nulls[row * stride + (feature >> 3)] >> (feature & 7)) & 1;
  return isNull ? NULL : PRESENT;
}

// Sends all batches, then tells how far the server has acknowledged them.
function ingest(store, view, batches) {
  return new Promise((resolve, reject) => {
    let last;
    const stream = store.IngestFeatures();
    stream.on("data", (acknowledged) => (last = acknowledged));
    stream.on("error", reject);
    stream.on("end", () => resolve(last));
    batches.forEach((batch, number) => stream.write({ view, sequence: number + 1, batch }));
    stream.end();
  });
}

// Sends an API key with the calls that it is given to.
function withKey(key) {
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${key}`);
  return metadata;
}

// Opens a stream, sends nothing, and waits for its deadline.
function lateness(store) {
  return new Promise((resolve) => {
    const stream = store.IngestFeatures({ deadline: Date.now() + 200 });
    stream.on("data", () => {});
    stream.on("error", resolve);
  });
}

async function run(store) {
  const answer = await fetch(store, "delay_model_v1", "UA", "AA", "ZZ");
  const features = answer.schema.features.map((_, feature) => feature);
  const rows = Array.from({ length: answer.rows }, (_, row) => row);
  const unknown = await fetch(store, "delay_model_ü", "UA").catch((error) => error);
  const late = await lateness(store);
  const batch = (carrier) => ({ keys: [texts("carrier", carrier)], features: [{ name: "mean_delay", float32s: [1.5] }] });
  const last = await ingest(store, "carrier_delays", [batch("J1"), batch("J2")]);
  return {
    // JSON has null for NaN.
    values: rows.map((row) => features.map((feature) => answer.matrix.float32s[row * features.length + feature])),
    statuses: rows.map((row) => features.map((feature) => STATUSES[statusOf(answer, row, feature)])),
    error: { code: unknown.code, message: unknown.details },
    deadline: late.code,
    ingested: { sequence: Number(last.sequence), rows: Number(last.counts.rows) },
  };
}

// Reads with the key, and then without it.
async function runSecured(store, key) {
  const list = (metadata) =>
    new Promise((resolve, reject) => {
      store.ListFeatureServices({}, metadata, (error, answer) => (error ? reject(error) : resolve(answer)));
    });
  const listed = await list(withKey(key));
  const refused = await list(new grpc.Metadata()).catch((error) => error);
  return { services: listed.feature_services.length, error: { code: refused.code, message: refused.details } };
}

async function main([protoDirectory, address, authorities, key]) {
  const store = connect(protoDirectory, address, authorities);
  console.log(JSON.stringify(await (key ? runSecured(store, key) : run(store))));
  store.close();
}

main(process.argv.slice(2));
