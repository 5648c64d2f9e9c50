import { Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { controlPlaneFolder } from '../../../shared/home.ts'
import { loadControlPlaneKey } from '../../../shared/identity/control-plane-key.ts'
import { Hex64 } from '../../../shared/schema/common.ts'
import { findDevice } from '../../device/device.ts'
import { defineCommand } from '../command.ts'

export const controlPlaneKey = defineCommand({
  name: 'control-plane-key',
  summary: 'print the key by which the control plane is known: of the one here, else of the one that this device knows',
  details:
    'Both are the same digits: compare them, over a channel you trust, ' +
    'where a device met its control plane without an invite. They are no secret; ' +
    'the key itself stays in its file.',
  options: ['data', 'json'],
  examples: ['mesh control-plane-key', 'mesh control-plane-key --json'],
  json: Type.Object({
    controlPlaneKey: Hex64,
    isOwn: Type.Boolean({
      description: 'the control plane runs from this home; false: it is the one that this device knows',
    }),
  }),
  run: async ({ home, stdout, stderr, printJson }, values) => {
    const folder = values.data === undefined ? home.controlPlane : controlPlaneFolder(values.data)
    const own = loadControlPlaneKey(folder.key)?.id
    const known = values.data === undefined ? findDevice(home)?.config : undefined
    const key = own ?? known?.controlPlaneKey
    if (key === undefined) throw new MeshError('controlPlaneKeyMissing', { folder: folder.folder })
    if (values.json) return printJson({ controlPlaneKey: key, isOwn: own !== undefined })
    stdout.write(`${key}\n`)
    if (stdout.isTTY)
      stderr.write(
        own === undefined
          ? `of the control plane that this device knows, at ${known?.controlPlaneUrl}\n`
          : `of the control plane in ${folder.folder}\n`,
      )
  },
})
