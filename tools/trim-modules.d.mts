interface Machine {
  readonly platform: string
  readonly arch: string
}
export const trimVersion: string
export const isForeignBinary: (path: string, machine: Machine) => boolean
export const trimModules: (
  modules: string,
  options: { readonly machine: Machine; readonly production: boolean },
) => { files: number; bytes: number }
