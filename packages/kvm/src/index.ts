import './register.js'

export { type KvmDriver, type KvmMachineOptions, type KvmOptions, kvm } from './driver.js'
