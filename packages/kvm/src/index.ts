import './register.js'

export { type KvmDriver, type KvmExtras, type KvmMachineOptions, type KvmOptions, kvm } from './driver.js'
