/** Caps on everything that a peer or a client can make us allocate or wait for. Each says why it has its value. */
export const limits = {
  /** Bytes of one tensor frame: [2048 tokens, 8192 hidden] f32, the largest prefill chunk of a 70B model. */
  framePayloadBytes: 64 * 2 ** 20,
  /** Bytes of one CBOR control message between ranks: steps of 64 sequences with 256 tokens each take 80 KiB. */
  controlBytes: 256 * 1024,
  /** Bytes of anything that is decoded from CBOR: the largest is a message with a revocation list. */
  cborBytes: 260 * 1024,
  /** Items in it: a table of the links of 64 ranks has 26,000, and as many as fit into the bytes cost too much to build. */
  cborItems: 32_768,
  /** Levels: a step has four. */
  cborDepth: 16,
  /** Keys of a map, and bytes of a key: of the schemas none has more than a dozen. */
  cborKeys: 64,
  cborKeyBytes: 64,
  /** Bytes of one certificate; real ones have about 300. */
  certificateBytes: 2048,
  /** Bytes that a peer may send before it proved membership. */
  gateBytes: 4096,
  /** Milliseconds a new connection has for encryption and multiplexing: some ten round trips of the slowest line. */
  handshakeMs: 5000,
  /** Milliseconds that it then has to pass the gate. */
  gateMs: 5000,
  /** Frames kept for a step that this rank has not reached yet, in bytes: four of the largest. */
  earlyFrameBytes: 256 * 2 ** 20,
  /** Characters of a prompt: about a quarter of a million tokens. */
  promptLength: 1_000_000,
  /** Characters of a sealed prompt: the longest one in UTF-8 with its JSON escapes, and its padding, in base64; below a request. */
  sealedLength: 8_000_000,
  /** Candidate tokens that a rank sends for sampling. */
  candidates: 1024,
  /** Characters of a device, pool or network name. */
  nameLength: 100,
  /** Characters of a model id: hubs allow 96 for owner and name each, and a tag comes behind. */
  modelIdLength: 256,
  /** Bytes of a WebSocket message, or of a body that holds a prompt: that in UTF-8, and its JSON escapes. */
  requestBytes: 8 * 2 ** 20,
  /** Bytes of any other HTTP body: the largest is a refusal with its fields. */
  bodyBytes: 64 * 1024,
  /** Milliseconds until the headers of an HTTP request must be here; of the body, beside what its bytes take. */
  headersMs: 10_000,
  bodyMs: 5000,
  /** A body must come this fast on the average: a tenth of the slowest line that homes have. */
  bodyBytesPerSecond: 64 * 1024,
  /** Milliseconds that a connection waits for its next request. */
  keepAliveMs: 72_000,
  /** Milliseconds until the first byte of a connection to the control plane, and again for its TLS handshake. */
  controlPlaneTlsMs: 5000,
  /** Connections that have not come so far, of a household that starts at once, and of all: the oldest makes room. */
  waitingConnectionsOfAddress: 64,
  waitingConnections: 1024,
  /** Milliseconds that a refused sender may go on sending what is not read. */
  lingerMs: 5000,
  /** Bytes of a message of a device that showed no certificate yet: a hello with all that fits in, in characters of one byte. */
  helloBytes: 300 * 1024,
  /** Devices on record that are in no pool; of those that asked for nothing the one seen longest ago makes room. */
  strangers: 1000,
  /** Milliseconds that clocks of device and control plane may differ. */
  clockSkewMs: 5 * 60_000,
  /** Devices on one revocation list, and characters of its text: 34 bytes a device, four thirds of that in base64. */
  removedDevices: 4096,
  revocationBytes: 256 * 1024,
  /** Characters of a pin of the control plane: 250 bytes, and the certificate of the admin that signed. */
  pinLength: 2048,
  /** Devices that wait to be let into one pool. */
  joinRequests: 100,
  /** API keys of one device in one pool; of those that ended the oldest make room. */
  apiKeys: 100,
  /** Tokens a day of an API key: far above what a pool can do, far below where sums become inexact. */
  keyTokens: 1e12,
  /** Characters that are kept of the prompt of a job that failed or was cancelled: enough to know it again. */
  keptPromptLength: 4000,
  /** Jobs waiting in one pool, of one member with all of its keys, and of one key: a member fills a tenth of it. */
  queuedJobs: 1000,
  queuedJobsOfMember: 100,
  queuedJobsOfKey: 50,
  /** Bytes of what waits: for a member two, for a key one of the largest requests. */
  queuedBytes: 256 * 2 ** 20,
  queuedBytesOfMember: 16 * 2 ** 20,
  queuedBytesOfKey: 8 * 2 ** 20,
  /** Jobs that a member may have waiting also where others filled the queue of the pool. */
  queuedJobsAlways: 5,
  /** Credits of one job: a 70B model for 14 million tokens. Keeps sums of millions of jobs exact. */
  jobCredits: 1e12,
  /** Entries of the ledger in one answer. */
  ledgerPage: 1000,
  /** Addresses under which a member may say that it reaches its control plane. */
  announcedControlPlanes: 8,
  /** Relays that a control plane names to its devices: a group has one or two. */
  announcedRelays: 8,
  /** Rings of one device in one pool: more models than a disk holds, and few enough to look at them all at once. */
  ringsOfDevice: 64,
  /** Ranks of one ring. */
  worldSize: 64,
} as const
