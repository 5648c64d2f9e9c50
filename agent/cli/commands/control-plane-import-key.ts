import { Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { lockFolder } from '../../../shared/folder-lock.ts'
import { controlPlaneFolder } from '../../../shared/home.ts'
import { loadControlPlaneKey, saveControlPlaneKey } from '../../../shared/identity/control-plane-key.ts'
import { importControlPlaneKey } from '../../../shared/identity/key-export.ts'
import { type ControlPlaneId, shortId } from '../../../shared/ids.ts'
import { Hex64 } from '../../../shared/schema/common.ts'
import { defineCommand } from '../command.ts'
import { readGivenFile } from '../given-file.ts'
import { readPassphrase } from '../passphrase.ts'

/** The key that is there; `damaged` where it cannot be read, which is what an import may be for. */
const presentKey = (file: string): ControlPlaneId | 'damaged' | undefined => {
  try {
    return loadControlPlaneKey(file)?.id
  } catch (error) {
    if (error instanceof MeshError && error.code === 'controlPlaneKeyUnreadable') return 'damaged'
    throw error
  }
}

export const controlPlaneImportKey = defineCommand({
  name: 'control-plane-import-key',
  summary:
    'let the control plane of this machine take the place of another, by the file of mesh control-plane-export-key',
  details:
    'The control plane must not run here meanwhile. Devices know it by its key, ' +
    'so they accept this one as the same wherever they meet it; stop the old one first. ' +
    'Its data folder may be copied as well, and nothing is lost then; without it, ' +
    'pools and rings come back as the agents of their makers and members connect.',
  options: ['file', 'passphraseFile', 'data', 'yes', 'json'],
  required: ['file'],
  examples: ['mesh control-plane-import-key --file control-plane.key.txt'],
  json: Type.Object({ controlPlaneKey: Hex64, folder: Type.String() }),
  run: async (context, values) => {
    const {
      folder,
      key: file,
      database,
    } = values.data === undefined ? context.home.controlPlane : controlPlaneFolder(values.data)
    const key = importControlPlaneKey(
      readGivenFile(values.file, '--file'),
      await readPassphrase(context, values.passphraseFile, { twice: false }),
    )
    const lock = await lockFolder(`${database}.lock`, 'a control plane')
    try {
      const present = presentKey(file)
      if (present !== undefined && present !== 'damaged' && present !== key.id && !values.yes) {
        throw new MeshError('controlPlaneKeyPresent', { folder, known: shortId(present), imported: shortId(key.id) })
      }
      saveControlPlaneKey(file, key)
    } finally {
      lock.release()
    }
    if (values.json) return context.printJson({ controlPlaneKey: key.id, folder })
    context.stderr.write(
      `the control plane in ${folder} has the key ${key.id} now; mesh up or mesh control-plane starts it\n`,
    )
  },
})
