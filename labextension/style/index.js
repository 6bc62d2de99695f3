import './base.css';
import './study.css';
import './endpoints.css';
