/** Model folders, their files and tensors, shards of them, backends. */
import type { ErrorRecord } from './record.ts'

export const modelErrors = {
  modelUnknown: {
    status: 404,
    exit: 5,
    text: 'no model {modelId} on this device (there is {known|none else})',
    hint: 'put its Hugging Face folder at {folder}, or name the folder with --model-dir',
  },
  modelNotDownloaded: {
    status: 404,
    exit: 5,
    text: 'model {modelId} is not on this device',
    hint:
      'mesh model-pull {modelId} fetches it; or with the tool of Hugging Face: ' +
      'hf download {modelId} --local-dir {folder}; ' +
      'then repeat the command',
  },
  modelTagUnknown: {
    status: 404,
    exit: 5,
    text: 'no model {modelId} on this device; names with a tag are those of Ollama, whose files Mesh does not read',
    hint:
      'get the Hugging Face folder of the model, and name it: ' +
      'mesh join-ring --model-id {modelId} --model-dir FOLDER',
  },
  hubRefused: {
    status: 403,
    exit: 5,
    text: '{hub} does not give {repo} to this device (HTTP {status}): {problem}',
    hint:
      'accept the terms of the model on its page, make a token with read access there, and give it by HF_TOKEN; ' +
      'check that the name is right',
  },
  hubNotFound: {
    status: 404,
    exit: 5,
    text: '{hub} has no {repo}, or no such revision of it',
    hint: 'check name and --revision; a private model needs a token: HF_TOKEN',
  },
  hubBusy: {
    status: 429,
    exit: 5,
    text: '{hub} answers no more requests of this device for now (HTTP 429)',
    hint: 'wait some minutes and repeat the command, it goes on where it was; a token (HF_TOKEN) has a higher limit',
  },
  hubFailed: {
    status: 502,
    exit: 5,
    text: 'the hub {hub} cannot be used: {problem}',
    hint: 'check the connection and HF_ENDPOINT, and repeat the command: it goes on where it was',
  },
  hubBytesWrong: {
    status: 502,
    exit: 5,
    text: '{file} of {repo} came from {hub} twice with other bytes than it states',
    hint: 'repeat the command later, or from another hub (HF_ENDPOINT); nothing of that file was kept',
  },
  hubFilesSeveral: {
    status: 422,
    exit: 2,
    text: '{repo} has {problem} (it has {files})',
    hint: 'name one of the .gguf files with --file, or a model with safetensors',
  },
  pullTooLarge: {
    status: 422,
    exit: 2,
    text: 'the files of {repo} have {bytes}, --max-download is {most}',
    hint: 'allow more with --max-download, or choose a smaller file with --file',
  },
  modelGone: {
    status: 404,
    exit: 5,
    text: 'model {name} is not at {path} any more',
    hint:
      'bring its files back, or say where they are now: mesh model-add PATH --name {name}; ' +
      'mesh model-remove {name} forgets it',
  },
  modelNameTaken: {
    status: 409,
    exit: 5,
    text: 'there is a model {name} in the library, at {path}',
    hint: 'give this one another name with --name, or forget that one first: mesh model-remove {name}',
  },
  modelNotInLibrary: {
    status: 404,
    exit: 5,
    text: 'the library of this device has no model {name} (there is {known|none})',
    hint: 'mesh model-list shows what is there; mesh model-add PATH adds a folder or a .gguf file',
  },
  modelInUse: {
    status: 409,
    exit: 5,
    text: 'this device serves {name}, from {path}',
    hint: 'leave its ring first: mesh leave-ring --model-id {modelId}',
  },
  modelFolderMissing: {
    status: 404,
    exit: 5,
    text: 'there is no model at {folder}',
    hint:
      'check the path after --model-dir; a model of the hub is downloaded first: ' +
      'hf download OWNER/NAME --local-dir {folder}',
  },
  modelFilesSeveral: {
    status: 422,
    exit: 2,
    text: '{folder} holds several models: {files}',
    hint: 'name one of them: --model-dir {first}',
  },
  modelFolderIsFile: {
    status: 422,
    exit: 5,
    text: '{file} is a file, a model is a folder or a .gguf file',
    hint: 'name the folder: --model-dir {folder}',
  },
  modelElsewhere: {
    status: 404,
    exit: 5,
    text: 'config.json is missing in {folder}; a folder in it has one',
    hint: 'name that one: --model-dir {inner}',
  },
  modelFormatUnsupported: {
    status: 422,
    exit: 5,
    text: '{file} is {format}: this version of Mesh reads safetensors and GGUF',
    hint:
      'use the Hugging Face folder of the original model, with config.json, tokenizer.json and *.safetensors, ' +
      'or a .gguf file; --model-dir names it',
  },
  tokenizerFormatUnsupported: {
    status: 422,
    exit: 5,
    text: 'tokenizer.json is missing in {folder}; its tokenizer.model alone is not read',
    hint: 'download the folder in its form for transformers (often named -hf), whose files include tokenizer.json',
  },
  modelFileUnreadable: {
    status: 422,
    exit: 5,
    text: 'cannot read {file}: {problem}',
    hint: 'check the permissions of the file and of its folder',
  },
  gitLfsPointer: {
    status: 422,
    exit: 5,
    text: '{file} is a note of Git LFS in place of the file, which was not downloaded',
    hint:
      'fetch the files: git -C {folder} lfs pull (needs git-lfs), ' +
      'or download the folder anew with the tool of Hugging Face: hf download OWNER/NAME',
  },
  modelFileMissing: {
    status: 422,
    exit: 5,
    text: '{file} is missing in {folder}',
    hint: 'download the model folder again; it needs config.json, tokenizer.json and model.safetensors',
  },
  modelConfigInvalid: {
    status: 422,
    exit: 5,
    text: '{file}: {problem}',
    hint:
      'use an unmodified Hugging Face folder of a model that is supported; ' +
      'what would change the text unnoticed is refused',
  },
  architectureUnsupported: {
    status: 422,
    exit: 5,
    text: 'architecture {architecture} is not supported; supported: {supported}',
    hint: 'use a model of one of these families; docs/models.md lists them',
  },
  safetensorsInvalid: {
    status: 422,
    exit: 5,
    text: '{file} is damaged: {problem}',
    hint: 'download the file again and compare its size and hash with the source',
  },
  ggufInvalid: {
    status: 422,
    exit: 5,
    text: '{file} is no GGUF file that can be used: {problem}',
    hint: 'download the file again, all its parts, and compare size and hash with the source',
  },
  weightsUnusable: {
    status: 422,
    exit: 5,
    text: 'tensor {tensor} in {file} cannot be used: {problem}',
    hint:
      'download the file again and compare its hash with the source; ' +
      'values too large for q8 and q4 need --quant f32',
  },
  weightsChanged: {
    status: 409,
    exit: 5,
    text: 'tensor {tensor} in {file} has other bytes than when the file was read whole (MiB {piece})',
    hint:
      'if somebody replaced the file: mesh join-ring reads it anew; if nobody did, ' +
      'the disk or the memory of this machine is failing',
  },
  tensorMissing: {
    status: 422,
    exit: 5,
    text: 'tensor {tensor} is missing in {folder}',
    hint: 'use an unmodified Hugging Face folder of the Llama architecture',
  },
  tensorUnknown: {
    status: 422,
    exit: 5,
    text:
      'tensor {tensor} in {folder} is no part of a model of its family: it may change the text, ' +
      'so the model is refused',
    hint: 'use the original model: not quantised by others, and with adapters merged',
  },
  tensorShape: {
    status: 422,
    exit: 5,
    text: 'tensor {tensor} has shape {got}, config.json says {want}',
    hint: 'config.json and the weights belong to different models; download both again',
  },
  dtypeUnsupported: {
    status: 422,
    exit: 5,
    text: 'tensor {tensor} has type {dtype}',
    hint:
      'supported: F32, F16, BF16; ' +
      'in GGUF files Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL, IQ4_XS, MXFP4 too',
  },
  modelMismatch: {
    status: 409,
    exit: 5,
    text: 'model {modelId} here has revision {got}, the ring uses {want}',
    hint: 'give every device the same files',
  },
  quantMismatch: {
    status: 409,
    exit: 5,
    text: 'the ring for {modelId} runs {want}, not {got}',
    hint: 'mesh join-ring --model-id {modelId} --quant {want}',
  },
  shardCorrupt: {
    status: 409,
    exit: 5,
    text: 'cached shard {file} is damaged: {problem}',
    hint: 'it is rebuilt from the model folder by itself; if this repeats, check the disk',
  },
  benchRoom: {
    status: 507,
    exit: 5,
    text: 'the weights need {need}, and {place} has {free} left',
    hint: 'take a smaller --shape or --quant, leave out --compare, or set TMPDIR to a folder with more room',
  },
  diskFull: {
    status: 507,
    exit: 5,
    text: 'cannot write {file}: the disk is full ({need} needed)',
    hint: 'free some space or move MESHNET_HOME',
  },
  chatTemplateMissing: {
    status: 422,
    exit: 5,
    text: 'the model in {folder} has no chat template',
    hint: 'leave out --chat, or add chat_template to its tokenizer_config.json',
  },
  planImpossible: {
    status: 422,
    exit: 5,
    text: 'the model cannot be split like that: {problem}',
    hint: 'mesh ring-status shows the shares',
  },
  backendFailed: {
    status: 500,
    exit: 5,
    text: 'the {backend} backend failed: {problem}',
    hint: 'mesh status; restart the agent with mesh start',
  },
} as const satisfies Record<string, ErrorRecord>
