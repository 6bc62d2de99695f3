import './base.css';
import './study.css';
