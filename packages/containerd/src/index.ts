import './register.js'

export {
  type ContainerdDriver,
  type ContainerdMachineOptions,
  type ContainerdOptions,
  type ContainerdRegistryAuth,
  containerd,
} from './driver.js'
