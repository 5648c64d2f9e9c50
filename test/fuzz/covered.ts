/**
 * Who reads what others wrote, and which cases try it. A file that decodes and stands in neither table fails the test:
 * whoever adds a decoder adds its cases, or says why nobody else can write what it reads.
 */

/** File that decodes -> names of targets, or how they begin. */
export const coveredBy: Readonly<Record<string, readonly string[]>> = {
  'agent/rank/open-links.ts': ['CBOR LinkOffer', 'CBOR LinkVerdict'],
  'agent/cli/job-stream.ts': ['events of a job'],
  'agent/cli/parse.ts': ['command lines'],
  'agent/cli/service-record.ts': ['file service.json'],
  'agent/channel/frame-assembler.ts': ['frames of a ring'],
  'agent/links/link-probe.ts': ['CBOR RingLinkTable'],
  'agent/daemon/control-link.ts': ['messages of a control plane'],
  'agent/device/checked-state.ts': ['file device.json'],
  'agent/device/compute-units.ts': ['file a compute unit'],
  'agent/device/device.ts': ['file device.json', 'file device.key'],
  'agent/device/invites.ts': ['file an invite'],
  'agent/device/known-peers.ts': ['file peers.json'],
  'agent/device/lock-store.ts': ['file a memory lock', 'file countdown.json'],
  'agent/device/message-store.ts': ['file a message that waits'],
  'agent/device/pools.ts': ['file pool.json', 'file membership.cert', 'file pool-root.key'],
  'agent/device/rings.ts': ['file rings.json'],
  'agent/cli/ledger-pages.ts': ['ages and dates'],
  'agent/cli/prompt.ts': ['prompts'],
  'agent/device/cpu-sources.ts': ['files of the system'],
  'agent/device/memory-sources.ts': ['files of the system'],
  'agent/generation/candidates.ts': ['candidates', 'logits'],
  'agent/model/config.ts': ['file config.json', 'file generation_config.json'],
  'agent/model/hash-store.ts': ['file hashes of weights'],
  'agent/model/model-source.ts': ['file config.json', 'file model.gguf'],
  'agent/model/safetensors.ts': ['file model.safetensors'],
  'agent/model/shard-cache.ts': ['file index.json of a shard'],
  'agent/model/shard-store.ts': ['file index.json of a shard'],
  'agent/model/tokenizer.ts': ['file tokenizer.json', 'file tokenizer_config.json'],
  'agent/network/control-plane-exchange.ts': ['CBOR Question of a control plane', 'CBOR Answer on a control plane'],
  'agent/network/member-protocol.ts': ['CBOR '],
  'agent/network/gate-exchange.ts': ['CBOR GateMessage', 'CBOR GateAnswer', 'length-prefixed messages'],
  'agent/network/relay-proof.ts': ['CBOR RelayAnswer'],
  'agent/network/renewal-exchange.ts': ['CBOR RenewalRequest', 'CBOR RenewalAnswer'],
  'agent/network/revocation-spread.ts': ['CBOR RevocationMessage', 'revocation lists'],
  'agent/network/ring-channel.ts': ['CBOR RingControl', 'frames of a ring'],
  'agent/network/rank-listener.ts': ['CBOR RingHello'],
  'agent/network/rank-dialer.ts': ['CBOR RingAnswer'],
  'control-plane/routes/body.ts': ['route '],
  'control-plane/domain/agent-message.ts': ['messages of agents'],
  'relay-server/relay-gate.ts': ['CBOR RelayProof', 'CBOR RevocationMessage'],
  'relay-server/served-pools.ts': ['file a list at a relay'],
  'relay-server/settings.ts': ['file relay.json'],
  'shared/api/failures.ts': ['answers of a control plane'],
  'shared/home.ts': ['file '],
  'shared/identity/control-plane-key.ts': ['file control-plane.key', 'ids of control planes'],
  'shared/identity/control-plane-pin.ts': ['pins of a control plane'],
  'shared/identity/pool-charter.ts': ['charters'],
  'shared/ids.ts': ['ids of devices', 'ids of pools', 'first digits of ids'],
  'shared/sealed/sealed-answer.ts': ['sealed answers'],
  'shared/sealed/sealed-job.ts': ['sealed prompts'],
  'shared/sealed/sealing-key.ts': ['keys to seal for'],
  'shared/units.ts': ['sizes', 'durations'],
  'shared/identity/invite.ts': ['invites'],
  'shared/identity/key-export.ts': ['exported keys'],
  'shared/identity/lock-statement.ts': ['statements on locked memory'],
  'shared/identity/pool-certificate.ts': ['certificates'],
  'shared/identity/revocation-list.ts': ['revocation lists'],
  'shared/identity/signed-statement.ts': ['signed statements'],
  'shared/log-text.ts': ['lines of a log'],
  'shared/wire/envelope.ts': ['CBOR '],
  'shared/wire/frame.ts': ['frames of a ring'],
  'shared/wire/message-stream.ts': ['length-prefixed messages'],
  'shared/wire/typed-message.ts': ['CBOR ', 'length-prefixed messages'],
}

/** File that decodes -> why nobody else wrote what it reads. */
export const notOfOthers: Readonly<Record<string, string>> = {
  'agent/background/main.ts': 'the last line of a command that this process started',
  'agent/cli/commands/ledger-verify.ts':
    'a number that this command wrote, checked by schema: it decides what is compared, not what is believed',
  'agent/cli/demo-cluster.ts': 'the answers of commands that this process started',
  'agent/cli/process-output.ts': 'the ready line of a process that this one started',
  'agent/cli/session.ts': 'checks a name that was typed',
  'agent/compute/ggml/ggml-backend.ts': 'answers of the compute process that this process started',
  'agent/engine/ggml/library.ts': 'the package.json of an installed package',
  'agent/compute/ggml/process-main.ts': 'requests of the agent that started this process',
  'agent/compute/ggml/process-protocol.ts': 'requests of the agent that started this process',
  'agent/model/blocks/decode-32.ts': 'all bits of a block stand for numbers (blocks/formats.test.ts tries any bits)',
  'agent/model/blocks/decode-256.ts': 'all bits of a block stand for numbers (blocks/formats.test.ts tries any bits)',
  'agent/model/blocks/formats.ts': 'all bits of a block stand for numbers (blocks/formats.test.ts tries any bits)',
  'agent/links/link-requests.ts': 'requests of the agent to a thread or process that it started',
  'control-plane/store/job-texts.ts':
    'text that this control plane stored, behind the seal of its own key, and a copy of a value of its own',
  'control-plane/store/text-vault.ts':
    'what this control plane sealed: a changed byte breaks the seal (control-plane/store tests)',
  'shared/flags.ts': 'takes the options of the program that calls it; their values have cases of their own (options)',
  'shared/printed.ts': 'what is about to be printed',
}

/** What decoding looks like in our code. */
export const decodes =
  /\b(?:decodeCbor|JSON\.parse|Value\.Check|readChecked|readStateJson|createParser|decodeArray|decodeStatement|decodeFrameHeader|readMessage|readTyped|answerMembers|askMember|program\.parse)\(|export const (?:decode|parse)[A-Z]|export const readMessage/
