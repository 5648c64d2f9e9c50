import { resolve } from 'node:path'
import { Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { controlPlaneFolder, writeState } from '../../../shared/home.ts'
import { loadControlPlaneKey } from '../../../shared/identity/control-plane-key.ts'
import { exportControlPlaneKey } from '../../../shared/identity/key-export.ts'
import { shortId } from '../../../shared/ids.ts'
import { Hex64 } from '../../../shared/schema/common.ts'
import { defineCommand } from '../command.ts'
import { readPassphrase } from '../passphrase.ts'

export const controlPlaneExportKey = defineCommand({
  name: 'control-plane-export-key',
  summary: 'write the key of the control plane, encrypted with a passphrase, to move it or to keep a copy',
  details:
    'Whoever has the file and the passphrase can pass for the control plane. ' +
    'With it another machine takes its place (mesh control-plane-import-key), and devices go on without a word; ' +
    'without a copy, a control plane whose disk is lost comes back under another key, ' +
    'which every device refuses until it is told.',
  options: ['file', 'passphraseFile', 'data', 'json'],
  required: ['file'],
  examples: ['mesh control-plane-export-key --file control-plane.key.txt'],
  json: Type.Object({ controlPlaneKey: Hex64, file: Type.String() }),
  run: async (context, values) => {
    const folder = values.data === undefined ? context.home.controlPlane : controlPlaneFolder(values.data)
    const key = loadControlPlaneKey(folder.key)
    if (key === undefined) throw new MeshError('controlPlaneKeyMissing', { folder: folder.folder })
    const passphrase = await readPassphrase(context, values.passphraseFile, { twice: true })
    const file = resolve(values.file)
    writeState(file, `${exportControlPlaneKey(key, passphrase)}\n`, 0o600)
    if (values.json) context.printJson({ controlPlaneKey: key.id, file })
    else
      context.stderr.write(
        `wrote the key ${shortId(key.id)} of the control plane to ${file}; mesh control-plane-import-key reads it\n`,
      )
  },
})
