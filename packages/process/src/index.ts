import './register.js'

export * from './driver.js'
