import './register.js'

export { type KataMachineOptions, type KataOptions, kata } from './driver.js'
